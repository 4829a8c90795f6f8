package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	webui "github.com/iu-core/iuworker/riverui"
)

// Variables that hold the lines of a secrets file, for installations without files.
const (
	credentialsVariable = "IUWORKER_HTTP_CREDENTIALS"
	tokensVariable      = "IUWORKER_EVENTS_TOKEN"
)

// access says who may use the pages and the events.
type access struct {
	credentials *webui.Credentials // nil: the pages need none
	tokens      *webui.Tokens      // nil: there are none
}

// access reads the secrets. A file that cannot be read is wrong usage.
func (f *workFlags) access(cmd *cobra.Command, getenv func(string) string) (who access, err error) {
	who.credentials, err = readSecrets(cmd, "--http-credentials-file", f.credentials, credentialsVariable, getenv,
		webui.ReadCredentials, webui.ParseCredentials)
	if err == nil {
		who.tokens, err = readSecrets(cmd, "--events-token-file", f.tokens, tokensVariable, getenv, webui.ReadTokens, webui.ParseTokens)
	}
	return who, err
}

// readSecrets reads the file or the variable; it returns nil if neither is given.
func readSecrets[T any](cmd *cobra.Command, flag, file, variable string, getenv func(string) string,
	read, parse func(string) (*T, error),
) (*T, error) {
	text := getenv(variable)
	if file != "" && text != "" {
		return nil, usage(cmd, "%s and %s contradict each other: give one of them", flag, variable)
	}
	var secrets *T
	var err error
	switch {
	case file != "":
		secrets, err = read(file)
	case text != "":
		if secrets, err = parse(text); err != nil {
			err = fmt.Errorf("%s: %w", variable, err)
		}
	}
	if err != nil {
		return nil, usage(cmd, "%v", err)
	}
	return secrets, nil
}

// curl returns a command line that follows the events, without the secret.
func (who access) curl(pages string) string {
	var how string
	switch {
	case who.tokens != nil:
		how = `-H "Authorization: Bearer $TOKEN" `
	case who.credentials != nil:
		how = "-u USER "
	}
	return "curl -N " + how + shellQuoted(strings.TrimSuffix(pages, "/")+"/v1/events?from=beginning")
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	webui "github.com/iu-core/iuworker/riverui"
)

// Secrets that come from the environment itself, for installations without files: they hold the lines of one.
const (
	credentialsVariable = "IUWORKER_HTTP_CREDENTIALS"
	tokensVariable      = "IUWORKER_EVENTS_TOKEN"
)

// access is who may use what is served.
type access struct {
	credentials *webui.Credentials // nil: nobody is asked for any
	tokens      *webui.Tokens      // nil: there are none
}

// access reads the secrets; what cannot be read is wrong usage.
func (f *workFlags) access(cmd *cobra.Command, getenv func(string) string) (who access, err error) {
	who.credentials, err = readSecrets(cmd, "--http-credentials-file", f.credentials, credentialsVariable, getenv,
		webui.ReadCredentials, webui.ParseCredentials)
	if err == nil {
		who.tokens, err = readSecrets(cmd, "--events-token-file", f.tokens, tokensVariable, getenv, webui.ReadTokens, webui.ParseTokens)
	}
	return who, err
}

// readSecrets returns nil if neither a file nor the variable is given.
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

// curl is a command line that follows the events; whoever has a secret puts it in.
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

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
)

// Check is what one check found.
type Check struct {
	Check    string         `json:"check"`
	Result   operate.Health `json:"result"`
	Says     string         `json:"says"`               // a sentence
	Details  []string       `json:"details,omitempty"`  // the first of what it is about
	WayOut   string         `json:"way_out,omitempty"`  // if something is wrong
	Commands []string       `json:"commands,omitempty"` // to run, in this order
	Next     string         `json:"next,omitempty"`     // Commands, as one line for a shell
}

func fine(format string, args ...any) Check {
	return Check{Result: operate.HealthOK, Says: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) Check {
	return Check{Result: operate.HealthWarn, Says: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) Check {
	return Check{Result: operate.HealthFail, Says: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Check {
	return Check{Result: operate.HealthSkipped, Says: fmt.Sprintf(format, args...)}
}

// so adds the way out and the commands to run; "" is none.
func (c Check) so(wayOut string, commands ...string) Check {
	c.WayOut = wayOut
	c.Commands = slices.DeleteFunc(slices.Clone(commands), func(command string) bool { return command == "" })
	c.Next = strings.Join(c.Commands, " && ")
	return c
}

// with adds the first details.
func (c Check) with(details []string) Check {
	c.Details = details[:min(len(details), detailsShown)]
	return c
}

// worse returns the graver of two results, the first one if they are alike.
func (c Check) worse(other Check) Check {
	gravity := []operate.Health{operate.HealthOK, operate.HealthSkipped, operate.HealthWarn, operate.HealthFail}
	if slices.Index(gravity, other.Result) > slices.Index(gravity, c.Result) {
		return other
	}
	return c
}

// psql is the command that runs a statement.
func psql(statement string) string {
	return "psql -c '" + strings.ReplaceAll(statement, "'", `'\''`) + "'"
}

// psqlIn is psql for a database by its name: another one would be changed in vain.
func psqlIn(database, statement string) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return "psql -d " + quote(database) + " -c " + quote(statement)
}

// literal writes a text as SQL does.
func literal(text string) string {
	var b []rune
	for _, r := range text {
		if r == '\'' {
			b = append(b, r)
		}
		b = append(b, r)
	}
	return "'" + string(b) + "'"
}

func orUnnamed(application string) string {
	if application == "" {
		return "an unnamed program"
	}
	return application
}

// terminate is the command that ends the first of these sessions.
func terminate(open []openTransaction) string {
	if len(open) == 0 {
		return ""
	}
	return psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", open[0].PID))
}

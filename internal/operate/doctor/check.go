package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
)

// Check is what one check found.
type Check struct {
	Name     string         `json:"check"`
	Result   operate.Health `json:"result"`
	Says     string         `json:"says"`               // a sentence
	Details  []string       `json:"details,omitempty"`  // the first of what it is about
	WayOut   string         `json:"way_out,omitempty"`  // if something is wrong
	Commands []string       `json:"commands,omitempty"` // to run, in this order
	Next     string         `json:"next,omitempty"`     // Commands, as one line for a shell
}

// Group returns the group that the check belongs to.
func (c Check) Group() string {
	for _, check := range checks {
		if check.name == c.Name {
			return check.group
		}
	}
	return ""
}

func judged(result operate.Health, format string, args ...any) Check {
	return Check{Result: result, Says: fmt.Sprintf(format, args...)}
}

func fine(format string, args ...any) Check    { return judged(operate.HealthOK, format, args...) }
func warn(format string, args ...any) Check    { return judged(operate.HealthWarn, format, args...) }
func failed(format string, args ...any) Check  { return judged(operate.HealthFail, format, args...) }
func skipped(format string, args ...any) Check { return judged(operate.HealthSkipped, format, args...) }

// wrong returns a failed check if what is wrong is grave, else a warning.
func wrong(grave bool, format string, args ...any) Check {
	if grave {
		return failed(format, args...)
	}
	return warn(format, args...)
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
	const most = 5
	c.Details = details[:min(len(details), most)]
	return c
}

// withAll adds all details: any of them may be the one that matters.
func (c Check) withAll(details []string) Check {
	c.Details = details
	return c
}

// add adds a finding: its detail, unless it is ok, and its result if that is graver than those before, which add reports.
func (c *Check) add(result operate.Health, detail string) (graver bool) {
	if result != operate.HealthOK {
		c.Details = append(c.Details, detail)
	}
	if graver = worse(result, c.Result); graver {
		c.Result = result
	}
	return graver
}

// lines returns a detail for each row.
func lines[T any](rows []T, line func(T) string) (details []string) {
	for _, row := range rows {
		details = append(details, line(row))
	}
	return details
}

// worse reports whether the first of two results is graver.
func worse(a, b operate.Health) bool {
	gravity := []operate.Health{operate.HealthOK, operate.HealthSkipped, operate.HealthWarn, operate.HealthFail}
	return slices.Index(gravity, a) > slices.Index(gravity, b)
}

const migrateUp = "iuworker migrate up"

// psql is the command that runs a statement.
func psql(statement string) string { return "psql -c " + shellQuoted(statement) }

// psqlIn is psql for a named database, for statements that change only the database that they run in.
func psqlIn(database, statement string) string {
	return "psql -d " + shellQuoted(database) + " -c " + shellQuoted(statement)
}

func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// literal returns a text as an SQL literal.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// terminate is the command that ends a session.
func terminate(pid int) string { return psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid)) }

func orUnnamed(application string) string {
	if application == "" {
		return "an unnamed program"
	}
	return application
}

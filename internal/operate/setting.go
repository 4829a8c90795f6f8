package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Settings of the installation, which every process obeys, whatever its flags.
const (
	// SettingNotifyPayload is what a notification of an event carries: PayloadEvent or PayloadCursor.
	SettingNotifyPayload = "notify-payload"

	PayloadEvent  = "event"  // the event's JSON
	PayloadCursor = "cursor" // {"cursor": "<epoch>-<position>"}
)

// SettingChoices returns the possible values of each setting. iu_outbox.settings() has the same list.
func SettingChoices() map[string][]string {
	return map[string][]string{SettingNotifyPayload: {PayloadEvent, PayloadCursor}}
}

// Setting is a setting of the installation.
type Setting struct {
	Name      string     `json:"name"`
	Value     string     `json:"value"`
	Default   string     `json:"default"`
	Choices   []string   `json:"choices"`
	Meaning   string     `json:"meaning"`
	UpdatedBy *string    `json:"updated_by"` // nil if it was never set
	UpdatedAt *time.Time `json:"updated_at"`
}

// Settings returns all settings by name.
func Settings(ctx context.Context, q Querier) ([]Setting, error) {
	settings, err := Collect(ctx, q, pgx.RowToStructByPos[Setting], `
		SELECT s.name, s.value, s.default_value, s.choices, s.meaning, s.updated_by, s.updated_at FROM iu_outbox.settings() AS s`)
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	return settings, nil
}

// SetSetting sets a setting and returns its previous value. Once it has returned, no process uses the previous value. The
// database function writes the audit line.
func (o Operator) SetSetting(ctx context.Context, name, value string) (was string, err error) {
	err = pgx.BeginFunc(ctx, o.Pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT iu_outbox.set_setting($1, $2, $3)", name, value, o.Actor).Scan(&was)
		if err == nil && was == value {
			err = errUnchanged
		}
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return "", fmt.Errorf("set %s: %w", name, err)
	}
	return was, nil
}

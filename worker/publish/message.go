package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Content is how a message carries an event.
type Content int

const (
	// Structured messages are the event's CloudEvents JSON, the same bytes as subscribers get. The main attributes are headers as well.
	Structured Content = iota
	// Binary messages are the event's data alone. All attributes are headers.
	Binary
)

// Attribute is a CloudEvents attribute, without the prefix that the protocol of a log gives it.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Message is an event as a log takes it.
type Message struct {
	ContentType string
	Attributes  []Attribute
	Data        []byte
}

// timeForm is that of the time in an event's JSON.
const timeForm = "2006-01-02T15:04:05.000000Z"

// Encode makes a message of an event.
func Encode(event subscribe.Event, content Content) (Message, error) {
	attributes := make([]Attribute, 0, 10)
	add := func(name, value string) {
		if value != "" {
			attributes = append(attributes, Attribute{name, value})
		}
	}
	add("id", event.ID)
	add("type", subscribe.EventType)
	add("source", event.Source)
	add("subject", event.Subject)
	add("time", event.Time.UTC().Format(timeForm))
	add("traceparent", event.TraceParent)
	if content == Structured {
		return Message{"application/cloudevents+json", attributes, portable(event)}, nil
	}
	add("specversion", "1.0")
	add("tracestate", event.TraceState)
	add("position", strconv.FormatInt(event.Cursor.Position, 10))
	add("cursor", event.Cursor.String())
	if event.RolledBack() {
		add("rolledbackat", event.RolledBackAt.UTC().Format(timeForm))
	}
	var envelope struct {
		ContentType string          `json:"datacontenttype"`
		Data        json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(event.JSON, &envelope); err != nil {
		return Message{}, fmt.Errorf("read the data of event %s: %w", event.Cursor, err)
	}
	return Message{envelope.ContentType, attributes, envelope.Data}, nil
}

// portable returns the event's JSON. Integers of CloudEvents have 32 bits: a larger position becomes a string.
func portable(event subscribe.Event) []byte {
	if event.Cursor.Position <= math.MaxInt32 {
		return event.JSON
	}
	// A text in the event cannot hold this: its quotation marks are escaped.
	digits := strconv.FormatInt(event.Cursor.Position, 10)
	for _, before := range []string{`"position": `, `"position":`} {
		if bytes.Contains(event.JSON, []byte(before+digits)) {
			return bytes.Replace(event.JSON, []byte(before+digits), []byte(before+`"`+digits+`"`), 1)
		}
	}
	return event.JSON
}

// HeaderValue percent-encodes a value for a header, as CloudEvents prescribe: whatever is no printable ASCII character, the blank, the
// quotation mark and the percent sign.
func HeaderValue(text string) string {
	return percentEncode(text, func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' })
}

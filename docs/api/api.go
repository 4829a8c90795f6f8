// Package api holds the documents that describe events and the HTTP API to programs. They are files of this directory, and part of
// the binary, which serves them.
package api

import "embed"

//go:embed event.schema.json openapi.yaml asyncapi.yaml
var files embed.FS

// Document is one of the documents.
type Document struct {
	Name      string // of the file
	MediaType string
	Text      []byte
}

// The documents refer to each other by these names.
const (
	EventSchema = "event.schema.json" // JSON Schema 2020-12 of an event
	OpenAPI     = "openapi.yaml"      // of what a process serves over HTTP
	AsyncAPI    = "asyncapi.yaml"     // of the channels on which events are announced
)

// Documents returns all documents. The caller must not change their texts.
func Documents() []Document {
	return []Document{
		{EventSchema, "application/schema+json", read(EventSchema)},
		{OpenAPI, "application/yaml", read(OpenAPI)},
		{AsyncAPI, "application/yaml", read(AsyncAPI)},
	}
}

func read(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the files are in the binary
	}
	return text
}

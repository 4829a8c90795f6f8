package subscribe_test

import (
	"testing"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const benchEvent = `{"id": "5b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10", "data": {"actor": "orders", "event_id": "0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10",
 "emit_mode": "live", "event_type": "order.placed", "piece_count": 12, "instance_key": "tpl-inst:auto:order-4711",
 "template_key": "welcome", "idempotency_key": "0123456789abcdef0123456789abcdef",
 "instance_collection_id": "5b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10", "template_collection_id": "6b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10"},
 "time": "2026-01-02T03:04:05.123456Z", "type": "iu.template.instance_auto_composed", "cursor": "0a1b2c3d-123456", "source": "/iu-core/shop",
 "subject": "tpl-inst:auto:order-4711", "position": 123456, "specversion": "1.0", "datacontenttype": "application/json"}`

func BenchmarkParseEvent(b *testing.B) {
	text := []byte(benchEvent)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := subscribe.ParseEvent(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCursor(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := subscribe.ParseCursor("0a1b2c3d-123456"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCursorString(b *testing.B) {
	cursor := subscribe.Cursor{Epoch: "0a1b2c3d", Position: 123456}
	b.ReportAllocs()
	for b.Loop() {
		_ = cursor.String()
	}
}

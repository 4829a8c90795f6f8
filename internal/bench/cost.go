package bench

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Cost is what an event of a measurement, or a call of a reference, used.
type Cost struct {
	Name   string  `json:"name"`
	Rate   Sample  `json:"rate"`                    // events per second
	Server *Sample `json:"server_cpu_us,omitempty"` // microseconds; nil if it is not known
	Client *Sample `json:"client_cpu_us,omitempty"` // of the worker and this measuring, or of pgbench
	WAL    Sample  `json:"wal_bytes"`
}

// usage is what a measurement used.
type usage struct {
	cpu *cost // nil: not known
	wal int64 // bytes that the server wrote, for whatever reason
}

// watch begins to measure what the server and its client use until stop.
func (b *bench) watch(ctx context.Context, s *scratch) (stop func() (usage, error), err error) {
	before, err := s.walPosition(ctx)
	cpu := b.meter.start()
	return func() (usage, error) {
		used := usage{cpu: cpu()}
		after, err := s.walPosition(ctx)
		used.wal = after - before
		return used, err
	}, err
}

// walPosition returns how many bytes of WAL the server ever wrote.
func (s *scratch) walPosition(ctx context.Context) (bytes int64, err error) {
	err = s.Read(ctx, "read the WAL's position", []any{&bytes},
		"SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint")
	return bytes, err
}

// rates are the rates of a measurement and its repetitions, and their costs per event.
type rates struct{ rate, server, client, wal []float64 }

func (r *rates) take(m measured, err error) error {
	if err != nil || m.events == 0 {
		return err
	}
	each := func(total float64) float64 { return total / float64(m.events) }
	r.rate = append(r.rate, m.rate)
	r.wal = append(r.wal, each(float64(m.wal)))
	if m.cpu != nil {
		r.client = append(r.client, each(float64(m.cpu.client.Microseconds())))
		if m.cpu.both {
			r.server = append(r.server, each(float64(m.cpu.server.Microseconds())))
		}
	}
	return nil
}

// addCost adds a line to the table of costs.
func (b *bench) addCost(name string, r rates) {
	known := func(values []float64) *Sample {
		if len(values) == 0 {
			return nil
		}
		s := sampleOf(values)
		return &s
	}
	b.report.Costs = append(b.report.Costs, Cost{
		Name: name, Rate: sampleOf(r.rate), Server: known(r.server), Client: known(r.client), WAL: sampleOf(r.wal),
	})
}

// writeCosts writes the table of costs, if there are any.
func (r *Report) writeCosts(w io.Writer) error {
	if len(r.Costs) == 0 {
		return nil
	}
	rows := make([]string, 0, len(r.Costs))
	for _, c := range r.Costs {
		rows = append(rows, strings.Join([]string{c.Name, c.Rate.cell(), c.Server.cell(), c.Client.cell(), c.WAL.cell()}, "\t"))
	}
	err := writeTable(w, "COSTS\tEVENTS/S\tSERVER cpu us/event\tWORKER cpu us/event\tWAL B/event", rows)
	fmt.Fprintln(w, "\nWORKER is the worker and this measuring, or pgbench; WAL is all that the server writes meanwhile.")
	return err
}

package iusql

import (
	"fmt"
	"slices"
	"strings"
)

// A tableShape is what we need of a table or a view, which may have more.
type tableShape struct {
	name    string
	view    bool
	columns [][2]string // name and type
	keys    []string    // unique columns, on which our foreign keys, ON CONFLICT and promises depend
	insert  []string    // the columns of our INSERT; nil if we insert nothing
}

// A functionShape is what we need of a function.
type functionShape struct {
	name     string
	types    string
	returns  string
	defaults int // arguments that callers may leave out
}

// differences returns the differences of all shapes.
func differences[S interface{ differences(cat *catalog) []string }](cat *catalog, shapes []S) []string {
	var found []string
	for _, shape := range shapes {
		found = append(found, shape.differences(cat)...)
	}
	return found
}

func (shape functionShape) signature() string { return shape.name + "(" + shape.types + ")" }

// differences returns what a table lacks or has in another form, one phrase each.
func (shape tableShape) differences(cat *catalog) []string {
	kind, kinds := "table", "rp"
	if shape.view {
		kind, kinds = "view", "v"
	}
	rel := cat.relations[shape.name]
	if rel == nil {
		return []string{fmt.Sprintf("%s public.%s is missing", kind, shape.name)}
	}
	if !strings.Contains(kinds, rel.Kind) {
		return []string{fmt.Sprintf("public.%s is not a %s", shape.name, kind)}
	}
	var found []string
	for _, want := range shape.columns {
		name, typ := want[0], want[1]
		switch have := rel.columns[name]; {
		case have == nil:
			found = append(found, fmt.Sprintf("column public.%s.%s (%s) is missing", shape.name, name, typ))
		case have.Type != typ:
			found = append(found, fmt.Sprintf("column public.%s.%s has type %s, not %s", shape.name, name, have.Type, typ))
		}
	}
	for _, key := range shape.keys {
		if rel.columns[key] != nil && !rel.unique(key) {
			found = append(found, fmt.Sprintf("column public.%s.%s has no unique key", shape.name, key))
		}
	}
	if shape.insert != nil {
		for _, name := range rel.order {
			if have := rel.columns[name]; have.NotNull && !have.HasDefault && !slices.Contains(shape.insert, name) {
				found = append(found, fmt.Sprintf(
					"column public.%s.%s is NOT NULL without a default, and iuworker inserts rows without it", shape.name, name))
			}
		}
	}
	return found
}

func (rel *relation) unique(column string) bool {
	return slices.ContainsFunc(rel.uniques, func(key []string) bool { return slices.Equal(key, []string{column}) })
}

// differences returns what a function lacks or has in another form, one phrase each.
func (shape functionShape) differences(cat *catalog) []string {
	have := shape.find(cat)
	if have == nil {
		var others []string
		for _, other := range cat.functions[shape.name] {
			others = append(others, "public."+other.signature())
		}
		text := fmt.Sprintf("function public.%s is missing", shape.signature())
		if len(others) > 0 {
			text += ", there is " + strings.Join(others, " and ")
		}
		return []string{text}
	}
	var found []string
	if !have.Ordinary {
		return append(found, fmt.Sprintf("public.%s is not an ordinary function", shape.signature()))
	}
	if have.Returns != shape.returns {
		found = append(found, fmt.Sprintf("function public.%s returns %s, not %s", shape.signature(), have.Returns, shape.returns))
	}
	if have.Defaults < shape.defaults {
		found = append(found, fmt.Sprintf("function public.%s has %d arguments with a default, not %d", shape.signature(), have.Defaults, shape.defaults))
	}
	return found
}

func (shape functionShape) find(cat *catalog) *function {
	if i := slices.IndexFunc(cat.functions[shape.name], func(f *function) bool { return f.Types == shape.types }); i >= 0 {
		return cat.functions[shape.name][i]
	}
	return nil
}

package iusql_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// pieces creates pieces with these keys and returns their ids in this order.
func (c core) pieces(t testing.TB, keys ...string) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	require.NoError(t, c.Pool.QueryRow(t.Context(), `
		WITH piece AS (
		    INSERT INTO iu_piece (piece_key, body) SELECT k, jsonb_build_object('text', k) FROM unnest($1::text[]) AS k
		    RETURNING id, piece_key)
		SELECT array_agg(id ORDER BY array_position($1, piece_key)) FROM piece`, keys).Scan(&ids))
	return ids
}

func (c core) compose(t testing.TB, key, title any, pieces any, actor any) answer {
	t.Helper()
	got, err := ask(t.Context(), c.Pool, "SELECT fn_iu_compose($1, $2, $3, $4)", key, title, pieces, actor)
	require.NoError(t, err)
	return got
}

func (c core) mark(ctx context.Context, s session, collection *uuid.UUID, isTemplate bool) (answer, error) {
	return ask(ctx, s, "SELECT fn_iu_collection_mark_template($1, 'editor', $2)", collection, isTemplate)
}

func (c core) digest(t testing.TB, collection *uuid.UUID) (digest string) {
	t.Helper()
	require.NoError(t, c.Pool.QueryRow(t.Context(), "SELECT fn_iu_collection_digest($1)", collection).Scan(&digest))
	return digest
}

func TestComposeKeepsTheOrder(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	ids := c.pieces(t, "c", "a", "b")
	require.Equal(t, "composer_disabled", c.compose(t, "kit", "Kit", ids, "editor").Status)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")

	got := c.compose(t, "kit", "Kit", ids, "editor")
	require.Equal(t, "composed", got.Status)
	require.Equal(t, 3, got.PieceCount)
	require.Equal(t, []string{"1 c", "2 a", "3 b"}, rows(t, c.DB, `
		SELECT m.position || ' ' || p.piece_key FROM iu_piece_membership AS m JOIN iu_piece AS p ON p.id = m.piece_id
		WHERE m.is_active AND m.collection_id = '`+got.CollectionID.String()+`' ORDER BY m.position`))
	require.Equal(t, "key_conflict", c.compose(t, "kit", "Another", ids[:1], "somebody").Status)
	require.Equal(t, counts{Membership: 3, Collection: 1}, c.writtenBeforeLog(t))
}

// writtenBeforeLog is written for a core without 033.
func (c core) writtenBeforeLog(t testing.TB) (got counts) {
	t.Helper()
	require.NoError(t, c.Pool.QueryRow(t.Context(),
		"SELECT (SELECT count(*) FROM iu_piece_membership), (SELECT count(*) FROM iu_piece_collection)").Scan(&got.Membership, &got.Collection))
	return got
}

func TestComposeNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")
	ids := c.pieces(t, "a", "b")
	unknown := uuid.New()
	for _, try := range []struct {
		key, title, pieces, actor any
		detail                    string
	}{
		{nil, "Kit", ids, "editor", "p_collection_key must not be null or blank"},
		{" \t", "Kit", ids, "editor", "p_collection_key must not be null or blank"},
		{"kit", nil, ids, "editor", "p_title must not be null or blank"},
		{"kit", "", ids, "editor", "p_title must not be null or blank"},
		{"kit", "Kit", nil, "editor", "p_piece_ids must not be null or empty"},
		{"kit", "Kit", []uuid.UUID{}, "editor", "p_piece_ids must not be null or empty"},
		{"kit", "Kit", ids, nil, "p_actor must not be null or blank"},
		{"kit", "Kit", ids, "\n", "p_actor must not be null or blank"},
		{"kit", "Kit", []*uuid.UUID{&ids[0], nil, &ids[1]}, "editor", "p_piece_ids must not hold a null"},
		{"kit", "Kit", []uuid.UUID{ids[0], ids[1], ids[0]}, "editor", "p_piece_ids holds piece " + ids[0].String() + " more than once"},
		{"kit", "Kit", []uuid.UUID{ids[0], unknown}, "editor", "p_piece_ids holds the unknown piece " + unknown.String()},
	} {
		got := c.compose(t, try.key, try.title, try.pieces, try.actor)
		require.Equal(t, "invalid_input", got.Status, try.detail)
		require.Equal(t, try.detail, got.Detail)
	}
	require.Equal(t, counts{}, c.writtenBeforeLog(t))
}

// If several composers want one key, one composes; the others wait for it and then find the key taken or free.
func TestComposeTakesAKeyOnce(t *testing.T) {
	t.Parallel()
	for committed, want := range map[bool]string{true: "key_conflict", false: "composed"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baselineSQL)
			c.Exec(t, "UPDATE dot_config SET value = 'true'")
			ids := c.pieces(t, "a")
			compose := func(s session) (answer, error) {
				return ask(t.Context(), s, "SELECT fn_iu_compose('kit', 'Kit', $1, 'editor')", ids)
			}
			tx := c.begin(t)
			first, err := compose(tx)
			require.NoError(t, err)
			require.Equal(t, "composed", first.Status)
			second := later(func() (answer, error) { return compose(c.Pool) })
			iutest.WaitBlocked(t, c.DB, 1)
			if committed {
				require.NoError(t, tx.Commit(t.Context()))
			} else {
				require.NoError(t, tx.Rollback(t.Context()))
			}
			got := <-second
			require.NoError(t, got.err)
			require.Equal(t, want, got.Status)
			require.Equal(t, counts{Membership: 1, Collection: 1}, c.writtenBeforeLog(t))
		})
	}
}

func TestDigestFollowsTheContent(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")
	ids := c.pieces(t, "a", "b", "c")
	kit := c.compose(t, "kit", "Kit", ids, "editor").CollectionID
	same := c.compose(t, "same", "Same", ids, "editor").CollectionID
	other := c.compose(t, "other", "Other", []uuid.UUID{ids[1], ids[0], ids[2]}, "editor").CollectionID

	whole := c.digest(t, kit)
	require.Equal(t, whole, c.digest(t, same))
	require.NotEqual(t, whole, c.digest(t, other), "the order counts")
	seen := map[string]string{whole: "whole"}
	for _, change := range []string{
		"UPDATE iu_piece_membership SET is_active = false WHERE position = 2",
		`UPDATE iu_piece SET body = '{"text": "another"}' WHERE piece_key = 'a'`,
		"UPDATE iu_piece SET piece_key = 'd' WHERE piece_key = 'c'",
		"UPDATE iu_piece_membership SET is_active = NULL WHERE position = 3",
		"UPDATE iu_piece_membership SET is_active = false",
	} {
		c.Exec(t, change)
		digest := c.digest(t, kit)
		require.Equal(t, digest, c.digest(t, same), change)
		require.Empty(t, seen[digest], change)
		seen[digest] = change
	}
	require.Equal(t, c.digest(t, kit), c.digest(t, &uuid.UUID{}), "unknown is as empty")
}

// Pieces with other keys and bodies do not have the same digest, even if the concatenated text is the same.
func TestDigestIsUnambiguous(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	lists := [][][2]string{
		{{"a", "1"}, {"b", "2"}},
		{{"a1\n1:b", "2"}},
		{{"a1", "1"}, {"b", "2"}},
		{{"a", "11"}, {"b", "2"}},
		{{"a", `"1\n1:b2"`}},
		{{"1:a", "1"}, {"b", "2"}},
	}
	seen := map[string]int{}
	for i, list := range lists {
		tx := c.begin(t)
		var digest string
		require.NoError(t, tx.QueryRow(t.Context(), `
			WITH kit AS (INSERT INTO iu_piece_collection (collection_key, created_by) VALUES ('kit', 'editor') RETURNING id)
			SELECT id FROM kit`).Scan(&digest))
		for position, piece := range list {
			_, err := tx.Exec(t.Context(), `
				WITH piece AS (INSERT INTO iu_piece (piece_key, body) VALUES ($1, $2) RETURNING id)
				INSERT INTO iu_piece_membership (collection_id, piece_id, position) SELECT $3, id, $4 FROM piece`,
				piece[0], piece[1], digest, position)
			require.NoError(t, err)
		}
		require.NoError(t, tx.QueryRow(t.Context(), "SELECT fn_iu_collection_digest($1)", digest).Scan(&digest))
		before, known := seen[digest]
		require.False(t, known, "lists %v and %v", lists[before], list)
		seen[digest] = i
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

func TestMarkRecordsAVersionWhenTheContentIsNew(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")
	kit := c.compose(t, "kit", "Kit", c.pieces(t, "a", "b"), "editor").CollectionID
	mark := func(isTemplate bool, version int) answer {
		got, err := c.mark(t.Context(), c.Pool, kit, isTemplate)
		require.NoError(t, err)
		require.Equal(t, "marked", got.Status)
		require.Equal(t, version, *got.Version)
		return got
	}
	first := mark(true, 1)
	require.Equal(t, c.digest(t, kit), first.Digest)
	require.Equal(t, first.Digest, mark(true, 1).Digest)
	c.Exec(t, "UPDATE iu_piece_membership SET is_active = false WHERE position = 1")
	require.Equal(t, first.Digest, mark(false, 1).Digest, "taking the mark away records nothing")
	require.Equal(t, []string{"false"}, rows(t, c.DB, "SELECT is_template::text FROM iu_collection_template_registry"))
	require.Equal(t, c.digest(t, kit), mark(true, 2).Digest)
	c.Exec(t, "UPDATE iu_piece_membership SET is_active = true WHERE position = 1")
	require.Equal(t, first.Digest, mark(true, 3).Digest, "the latest version is the content of now")

	// An empty collection may be marked as a template.
	var empty uuid.UUID
	require.NoError(t, c.Pool.QueryRow(t.Context(),
		"INSERT INTO iu_piece_collection (collection_key, created_by) VALUES ('empty', 'editor') RETURNING id").Scan(&empty))
	got, err := c.mark(t.Context(), c.Pool, &empty, false)
	require.NoError(t, err)
	require.Equal(t, "marked", got.Status)
	require.Nil(t, got.Version)
	got, err = c.mark(t.Context(), c.Pool, &empty, true)
	require.NoError(t, err)
	require.Equal(t, 1, *got.Version)

	unknown := uuid.New()
	for _, id := range []*uuid.UUID{nil, &unknown} {
		got, err = c.mark(t.Context(), c.Pool, id, true)
		require.NoError(t, err)
		require.Equal(t, "not_found", got.Status)
	}
	for _, query := range []string{
		"SELECT fn_iu_collection_mark_template($1, ' ')",
		"SELECT fn_iu_collection_mark_template($1, 'editor', NULL)",
	} {
		got, err = ask(t.Context(), c.Pool, query, kit)
		require.NoError(t, err)
		require.Equal(t, "invalid_input", got.Status)
	}
}

// Two concurrent calls that mark one collection wait for each other, and record one version.
func TestMarkersTakeTurns(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")
	kit := c.compose(t, "kit", "Kit", c.pieces(t, "a"), "editor").CollectionID
	tx := c.begin(t)
	first, err := c.mark(t.Context(), tx, kit, true)
	require.NoError(t, err)
	second := later(func() (answer, error) { return c.mark(t.Context(), c.Pool, kit, true) })
	iutest.WaitBlocked(t, c.DB, 1)
	require.NoError(t, tx.Commit(t.Context()))
	got := <-second
	require.NoError(t, got.err)
	require.Equal(t, first.Version, got.Version)

	c.Exec(t, `UPDATE iu_piece SET body = '"new"'`)
	atOnce(8, func(int) {
		got, err := c.mark(t.Context(), c.Pool, kit, true)
		if err != nil || *got.Version != 2 {
			t.Errorf("marked at once: %+v, %v", got, err)
		}
	})
	require.Equal(t, []string{"1", "2"}, rows(t, c.DB, "SELECT version::text FROM iu_collection_template_version ORDER BY version"))
}

func TestRecordKeepsVersionAndDigestOfNow(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	c.Exec(t, "UPDATE dot_config SET value = 'true'")
	ids := c.pieces(t, "a", "b")
	kit := c.compose(t, "kit", "Kit", ids, "editor").CollectionID
	record := func(instance *uuid.UUID) (answer, error) {
		return ask(t.Context(), c.Pool, "SELECT fn_iu_collection_record_template_instance($1, $2, 'editor', 'Note')", kit, instance)
	}
	lineage := `SELECT concat_ws(' ', template_version, template_digest, recorded_by, note) FROM iu_collection_template_instance_lineage
	            ORDER BY created_at`
	got, err := record(c.compose(t, "one", "One", ids, "editor").CollectionID)
	require.NoError(t, err)
	require.Equal(t, "recorded", got.Status)
	unversioned := c.digest(t, kit) + " editor Note"
	require.Equal(t, []string{unversioned}, rows(t, c.DB, lineage))

	_, err = c.mark(t.Context(), c.Pool, kit, true)
	require.NoError(t, err)
	c.Exec(t, `UPDATE iu_piece SET body = '"new"' WHERE piece_key = 'a'`)
	two := c.compose(t, "two", "Two", ids, "editor").CollectionID
	_, err = record(two)
	require.NoError(t, err)
	require.Equal(t, []string{unversioned, "1 " + c.digest(t, kit) + " editor Note"}, rows(t, c.DB, lineage))

	_, err = record(two)
	require.ErrorContains(t, err, "iu_collection_template_instance_lineage_pkey")
	_, err = record(&uuid.UUID{})
	require.ErrorContains(t, err, "foreign key")
}

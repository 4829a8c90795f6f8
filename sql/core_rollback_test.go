package iusql_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func (c core) rollBack(t testing.TB, status, actor string, dryRun bool) answer {
	t.Helper()
	got, err := rollBack(t.Context(), c.Pool, actor, dryRun)
	require.NoError(t, err)
	require.Equal(t, status, got.Status, "%+v", got)
	if status != "invalid_input" {
		require.Equal(t, actor, got.Actor)
		require.Equal(t, dryRun, got.DryRun)
	}
	return got
}

// A rollback deletes what a dry run counts, of one actor and of no other.
func TestRollbackByActor(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.OpenGates(t)
		kit, box := c.Template(t, "kit", 3), c.Template(t, "box", 5)
		made := c.written(t)
		mine := []call{{uuid.New(), kit, "a", "live", "shop"}, {uuid.New(), kit, "b", "dry_run", "shop"}, {uuid.New(), box, "c", "live", "shop"}}
		for _, args := range mine {
			c.must(t, "instantiated", args)
		}
		for i, actor := range []string{"Shop", "shop ", "shop2", "%"} {
			c.must(t, "instantiated", call{uuid.New(), kit, fmt.Sprint("other-", i), "live", actor})
		}
		all := c.written(t)

		want := counts{EventLog: 3, Lineage: 3, Membership: 11, Collection: 3}
		require.Equal(t, want, c.rollBack(t, "reported", "shop", true).Counts)
		require.Equal(t, counts{}, c.rollBack(t, "reported", "nobody", true).Counts)
		require.Equal(t, counts{}, c.rollBack(t, "rolled_back", "nobody", false).Counts)
		require.Equal(t, all, c.written(t))
		require.Equal(t, want, c.rollBack(t, "rolled_back", "shop", false).Counts)
		require.Equal(t, counts{all.EventLog - 3, all.Lineage - 3, all.Membership - 11, all.Collection - 3}, c.written(t))
		require.Equal(t, []string{"%", "Shop", "shop ", "shop2"}, rows(t, c.DB,
			`SELECT triggered_by FROM iu_auto_instantiate_event_log ORDER BY triggered_by COLLATE "C"`))
		require.Equal(t, counts{}, c.rollBack(t, "rolled_back", "shop", false).Counts)

		// The same events compose new instances.
		for _, args := range mine {
			c.must(t, "instantiated", args)
		}
		require.Equal(t, all, c.written(t))
		for _, actor := range []string{"shop", "Shop", "shop ", "shop2", "%"} {
			c.rollBack(t, "rolled_back", actor, false)
		}
		require.Equal(t, made, c.written(t))
	})
}

func TestRollbackOfNobodyIsInvalid(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	for _, args := range [][]any{{nil, true}, {"", true}, {" \t", false}, {"shop", nil}} {
		got, err := ask(t.Context(), c.Pool, "SELECT fn_iu_auto_instantiate_rollback_by_actor($1, $2)", args...)
		require.NoError(t, err)
		require.Equal(t, "invalid_input", got.Status, "%v", args)
		require.Contains(t, got.Detail, map[bool]string{true: "p_dry_run", false: "p_actor"}[args[1] == nil])
	}
	got, err := ask(t.Context(), c.Pool, "SELECT fn_iu_auto_instantiate_rollback_by_actor('shop')")
	require.NoError(t, err)
	require.Equal(t, "reported", got.Status, "it is dry unless told otherwise")
}

// Any other reference to an instance blocks the rollback, dry run or not, until the reference is removed.
func TestRollbackIsBlockedByUse(t *testing.T) {
	t.Parallel()
	for used, try := range map[string]struct{ use, end string }{
		"public.iu_collection_template_registry.collection_id": {
			"INSERT INTO iu_collection_template_registry (collection_id, is_template) SELECT id, false FROM used",
			"DELETE FROM iu_collection_template_registry WHERE NOT is_template",
		},
		"public.iu_collection_template_version.collection_id": {
			"INSERT INTO iu_collection_template_version (collection_id, version) SELECT id, 77 FROM used",
			"DELETE FROM iu_collection_template_version WHERE version = 77",
		},
		"public.iu_collection_template_instance_lineage.template_collection_id": {
			"INSERT INTO iu_collection_template_instance_lineage SELECT spare.id, used.id FROM used, spare",
			"DELETE FROM iu_collection_template_instance_lineage WHERE recorded_by IS NULL",
		},
		"public.iu_auto_instantiate_event_log.template_collection_id": {
			`INSERT INTO iu_collection_template_instance_lineage SELECT spare.id, spare.id FROM spare;
			 INSERT INTO iu_auto_instantiate_event_log SELECT spare.id, used.id, gen_random_uuid(), 'e', 'key', 'live', 'other' FROM used, spare`,
			"DELETE FROM iu_auto_instantiate_event_log WHERE triggered_by = 'other'",
		},
		"public.iu_collection_bookmark.collection_id": {
			"INSERT INTO iu_collection_bookmark SELECT 'me', id FROM used",
			"DELETE FROM iu_collection_bookmark",
		},
		"public.iu_lineage_review.instance_collection_id": {
			"INSERT INTO iu_lineage_review SELECT 'me', id FROM used",
			"DELETE FROM iu_lineage_review",
		},
		"public.iu_membership_pin.collection_id+piece_id": {
			"INSERT INTO iu_membership_pin SELECT collection_id, piece_id FROM iu_piece_membership, used WHERE collection_id = id AND position = 20",
			"DELETE FROM iu_membership_pin",
		},
		"public.shop_page.collection_key": {
			"INSERT INTO shop_page SELECT 'page', collection_key FROM used",
			"DELETE FROM shop_page",
		},
		"public.iu_piece_collection.parent_id": {
			"UPDATE iu_piece_collection SET parent_id = used.id FROM used WHERE iu_piece_collection.collection_key = 'welcome-kit'",
			"UPDATE iu_piece_collection SET parent_id = NULL",
		},
		`elsewhere."Log Row".log row`: {
			`CREATE SCHEMA elsewhere;
			 CREATE TABLE elsewhere."Log Row" ("log row" uuid REFERENCES public.iu_auto_instantiate_event_log ON DELETE SET NULL);
			 INSERT INTO elsewhere."Log Row" SELECT id FROM used`,
			`DELETE FROM elsewhere."Log Row"`,
		},
		"public.parted.collection_id": {
			`CREATE TABLE parted (n int, collection_id uuid REFERENCES iu_piece_collection ON DELETE CASCADE) PARTITION BY LIST (n);
			 CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
			 INSERT INTO parted SELECT 1, id FROM used`,
			"DELETE FROM parted",
		},
	} {
		t.Run(used, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, adoptedSQL, instantiateSQL)
			c.OpenGates(t)
			template := c.Template(t, "kit", 3)
			first := c.must(t, "instantiated", call{uuid.New(), template, "a", "live", "shop"})
			c.must(t, "instantiated", call{uuid.New(), template, "b", "live", "shop"})
			c.Exec(t, `
				CREATE VIEW used AS SELECT id, collection_key FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:a';
				CREATE VIEW spare AS SELECT id FROM iu_piece_collection WHERE collection_key = 'old-newsletter'`)
			c.Exec(t, try.use)
			before := c.written(t)
			want := []use{{*first.InstanceCollectionID, "tpl-inst:auto:a", used}}
			for _, dryRun := range []bool{true, false} {
				got := c.rollBack(t, "blocked", "shop", dryRun)
				require.Equal(t, want, got.BlockedBy)
				require.Equal(t, counts{2, 2, 6, 2}, got.Counts)
				require.Equal(t, before, c.written(t))
			}
			c.Exec(t, try.end)
			require.Equal(t, counts{2, 2, 6, 2}, c.rollBack(t, "rolled_back", "shop", false).Counts)
		})
	}
}

// A rollback waits for an uncommitted use of an instance, so no row of somebody else is deleted with the instance.
func TestRollbackWaitsForUses(t *testing.T) {
	t.Parallel()
	for used, use := range map[string]string{
		"public.iu_collection_template_registry.collection_id": "SELECT fn_iu_collection_mark_template(id, 'editor') FROM used",
		"public.iu_collection_bookmark.collection_id":          "INSERT INTO iu_collection_bookmark SELECT 'me', id FROM used",
		"public.iu_lineage_review.instance_collection_id":      "INSERT INTO iu_lineage_review SELECT 'me', id FROM used",
		"public.iu_membership_pin.collection_id+piece_id": `
			INSERT INTO iu_membership_pin SELECT collection_id, piece_id FROM iu_piece_membership, used WHERE collection_id = id AND position = 10`,
	} {
		t.Run(used, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, adoptedSQL, instantiateSQL)
			c.OpenGates(t)
			c.must(t, "instantiated", call{uuid.New(), c.Template(t, "kit", 3), "a", "live", "shop"})
			c.Exec(t, "CREATE VIEW used AS SELECT id FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:a'")
			tx := c.begin(t)
			_, err := tx.Exec(t.Context(), use)
			require.NoError(t, err)
			back := later(func() (answer, error) { return rollBack(t.Context(), c.Pool, "shop", false) })
			iutest.WaitBlocked(t, c.DB, 1)
			require.NoError(t, tx.Commit(t.Context()))
			got := <-back
			require.NoError(t, got.err)
			require.Equal(t, "blocked", got.Status)
			require.Equal(t, used, got.BlockedBy[0].UsedBy)
			require.Equal(t, 1, c.written(t).EventLog)
		})
	}
}

// An instance that became a template blocks while it has instances of its own, and can be deleted once they are.
func TestRollbackOfATemplateThatIsUsed(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	parent := c.must(t, "instantiated", call{uuid.New(), c.Template(t, "kit", 3), "parent", "live", "shop"})
	_, err := c.mark(t.Context(), c.Pool, parent.InstanceCollectionID, true)
	require.NoError(t, err)
	c.must(t, "instantiated", call{uuid.New(), *parent.InstanceCollectionID, "child", "live", "other"})
	got := c.rollBack(t, "blocked", "shop", false)
	var uses []string
	for _, use := range got.BlockedBy {
		require.Equal(t, "tpl-inst:auto:parent", use.InstanceKey)
		uses = append(uses, use.UsedBy)
	}
	require.Equal(t, []string{
		"public.iu_auto_instantiate_event_log.template_collection_id",
		"public.iu_collection_template_instance_lineage.template_collection_id",
		"public.iu_collection_template_registry.collection_id",
		"public.iu_collection_template_version.collection_id",
	}, uses)
	require.Equal(t, counts{1, 1, 3, 1}, c.rollBack(t, "rolled_back", "other", false).Counts)
	c.Exec(t, "DELETE FROM iu_collection_template_registry WHERE collection_id = $1", parent.InstanceCollectionID)
	c.Exec(t, "DELETE FROM iu_collection_template_version WHERE collection_id = $1", parent.InstanceCollectionID)
	c.rollBack(t, "rolled_back", "shop", false)
}

func TestRollbackNamesAHundredUses(t *testing.T) {
	t.Parallel()
	c := newCore(t, adoptedSQL, instantiateSQL)
	c.OpenGates(t)
	template := c.Template(t, "kit", 1)
	c.Exec(t, `SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, to_char(n, 'FM000'), 'live', 'shop')
	           FROM generate_series(1, 150) AS n`, template)
	c.Exec(t, `INSERT INTO iu_collection_bookmark
	           SELECT reader, instance_collection_id FROM iu_auto_instantiate_event_log, (VALUES ('me'), ('you')) AS r (reader)`)
	got := c.rollBack(t, "blocked", "shop", true)
	require.Len(t, got.BlockedBy, 100)
	require.Equal(t, "tpl-inst:auto:001", got.BlockedBy[0].InstanceKey)
	require.Equal(t, "tpl-inst:auto:100", got.BlockedBy[99].InstanceKey)
	require.Equal(t, counts{150, 150, 150, 150}, got.Counts)
}

func TestRollbacksAtOnce(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	template := c.Template(t, "kit", 2)
	for i := range 40 {
		c.must(t, "instantiated", call{uuid.New(), template, fmt.Sprint("order-", i), "live", []string{"shop", "web"}[i%2]})
	}
	deleted := make([]counts, 8)
	atOnce(len(deleted), func(i int) {
		got, err := rollBack(t.Context(), c.Pool, []string{"shop", "web"}[i%2], false)
		if err != nil || got.Status != "rolled_back" {
			t.Errorf("rollback: %+v, %v", got, err)
		}
		deleted[i] = got.Counts
	})
	var sum counts
	for _, one := range deleted {
		require.Contains(t, []counts{{}, {20, 20, 40, 20}}, one)
		sum.EventLog += one.EventLog
	}
	require.Equal(t, 40, sum.EventLog)
	require.Equal(t, counts{Membership: 2, Collection: 1}, c.written(t))
}

package inventorytest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	TestStore(t, func(t *testing.T) inventory.Store { return NewStore(t) })
}

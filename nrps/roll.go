package nrps

import (
	"hash/maphash"
	"slices"
)

// maxRoles is how many different roles a roll can tell apart.
const maxRoles = 63

// others stands for all further roles.
const others = uint64(1) << maxRoles

// roll remembers who has been told with which roles, in little memory.
type roll struct {
	hash  hasher
	seen  map[[2]uint64]uint64 // the roles, by person and status
	roles []string             // what the bits mean
}

func newRoll() *roll { return &roll{hash: newHasher(), seen: make(map[[2]uint64]uint64)} }

// tell notes a member and reports whether that is news: a person who was not told
// before with this status, or not with all of these roles. Who was told before
// gets the roles of then, too, and is there again if they have the role of the
// filter.
func (r *roll) tell(m *Member, role string) bool {
	mask := r.mask(m.Roles)
	key := r.hash.of(m.Status + "\x00" + m.UserID)
	before, again := r.seen[key]
	if again && mask&^before == 0 && mask&others == 0 {
		return false
	}
	r.seen[key] = before | mask
	m.Again = again && (role == "" || before&r.mask([]string{role}) != 0)
	for i, role := range r.roles {
		if before&(1<<i) != 0 {
			m.addRoles(role)
		}
	}
	return true
}

func (r *roll) mask(roles []string) uint64 {
	var mask uint64
	for _, role := range roles {
		i := slices.Index(r.roles, role)
		if i < 0 {
			if len(r.roles) == maxRoles {
				mask |= others
				continue
			}
			i = len(r.roles)
			r.roles = append(r.roles, role)
		}
		mask |= 1 << i
	}
	return mask
}

// hasher makes short names for strings that nobody can make collide.
type hasher [2]maphash.Seed

func newHasher() hasher { return hasher{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h hasher) of(s string) [2]uint64 {
	return [2]uint64{maphash.String(h[0], s), maphash.String(h[1], s)}
}

package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// leastServers are used before any is filled: in one process starts wait for each other here and there.
	leastServers = 4
	// groupsPerServer is how many MiniPods one server starts at most. So many are concerned when it hangs; and the more it is, the less
	// memory servers take. docs/designs/shim.md has the figures.
	groupsPerServer = 32
	// spareServers may be begun more than are needed, where those that are there do not answer.
	spareServers = 2
	// avoidFor is how long a server that did not answer gets no new MiniPods.
	avoidFor = time.Minute
)

// places says which server starts a container. All containers of a group (a MiniPod) have one; a server has so many groups at most;
// groups go where there are fewest, in the servers with the lowest numbers, so that others become empty and end. What is placed
// stays: the server's number is in the path that containerd executes, which stands in the container's record.
//
// It is a value of the past and present records alone, without a clock: an agent that comes later places as this one would.
type places struct {
	most    int
	groups  map[string]place
	members map[string]string // container → group
}

type place struct {
	server int
	count  int // of containers
}

func newPlaces(most int) *places {
	return &places{most: most, groups: map[string]place{}, members: map[string]string{}}
}

// put notes where a container is.
func (p *places) put(id string, server int) {
	if _, known := p.members[id]; known {
		return
	}
	group := groupOf(id)
	at, known := p.groups[group]
	if !known {
		at.server = server
	}
	at.count++
	p.groups[group], p.members[id] = at, group
}

// take places a container. Avoided servers get none that could be elsewhere.
func (p *places) take(id string, avoid func(server int) bool) int {
	at, known := p.groups[groupOf(id)]
	if !known {
		at.server = p.choose(avoid)
	}
	p.put(id, at.server)
	return at.server
}

// leave forgets a container.
func (p *places) leave(id string) {
	group, known := p.members[id]
	if !known {
		return
	}
	delete(p.members, id)
	at := p.groups[group]
	if at.count--; at.count == 0 {
		delete(p.groups, group)
		return
	}
	p.groups[group] = at
}

// loads are the numbers of groups by server, as long as there are servers.
func (p *places) loads() []int {
	var out []int
	for _, at := range p.groups {
		for len(out) <= at.server {
			out = append(out, 0)
		}
		out[at.server]++
	}
	return out
}

// servers is how many have a container.
func (p *places) servers() int {
	used := 0
	for _, load := range p.loads() {
		if load > 0 {
			used++
		}
	}
	return used
}

// choose finds the server for one more group: the least busy of as many as are needed, or of few more if those do not answer.
func (p *places) choose(avoid func(int) bool) int {
	wanted := max(leastServers, (len(p.groups)+p.most)/p.most)
	loads := append(p.loads(), make([]int, wanted+spareServers)...)
	for _, suits := range []func(int) bool{
		func(s int) bool { return s < wanted && !avoid(s) },
		func(s int) bool { return s < wanted+spareServers && !avoid(s) },
		func(s int) bool { return s < wanted },
	} {
		best := -1
		for s, load := range loads {
			if load < p.most && suits(s) && (best < 0 || load < loads[best]) {
				best = s
			}
		}
		if best >= 0 {
			return best
		}
	}
	return wanted // not reached: that many have room for all
}

// serverOf reads the number of a server from a runtime's name; false if it is not of this installation of the shim.
func serverOf(name, shim string) (int, bool) {
	within, ok := strings.CutPrefix(name, shim+"/")
	number, file := filepath.Split(within)
	server, err := strconv.Atoi(strings.TrimSuffix(number, "/"))
	return server, ok && shim != "" && err == nil && server >= 0 && file == shimName
}

// programOf is the program of a server, of whatever version, by a runtime's name. It may not be there.
func programOf(name string) string { return filepath.Join(filepath.Dir(filepath.Dir(name)), "server") }

// serverPath is what containerd executes for a container of a server. It makes it, if it is not there.
func serverPath(shim string, server int) (string, error) {
	path := filepath.Join(shim, strconv.Itoa(server), shimName)
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, installLink(filepath.Join("..", shimName), path)
}

// isServer tells whether a file is named as servers name their sockets.
func isServer(name string) bool {
	return name != "" && !slices.ContainsFunc([]byte(name), func(b byte) bool { return b < '0' || b > '9' })
}

package containerd

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var serverCount = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "miniplane_agent_shim_servers",
	Help: "Servers of miniplane's shim that have containers.",
})

func init() { metrics.Registry.MustRegister(serverCount) }

// runtimeOf is the runtime's name for a container: the path of its server.
func (r *Runtime) runtimeOf(ctx context.Context, id string) (string, error) {
	r.placing.Lock()
	defer r.placing.Unlock()
	if r.places == nil {
		if _, err := r.learnPlaces(ctx); err != nil {
			return "", err
		}
	}
	server := r.places.take(id, r.avoided)
	serverCount.Set(float64(r.places.servers()))
	return serverPath(r.opts.Shim, server)
}

// records lists all of them. The first time they tell where containers are.
func (r *Runtime) records(ctx context.Context) ([]containers.Container, error) {
	r.placing.Lock()
	if r.places == nil {
		defer r.placing.Unlock()
		return r.learnPlaces(ctx)
	}
	r.placing.Unlock()
	records, err := r.client.ContainerService().List(ctx)
	return records, native(err)
}

// learnPlaces lists the records while nothing is placed.
func (r *Runtime) learnPlaces(ctx context.Context) ([]containers.Container, error) {
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	r.places = r.placed(records)
	return records, nil
}

// placed is where containers are by their records.
func (r *Runtime) placed(records []containers.Container) *places {
	out := newPlaces(r.opts.GroupsPerServer)
	for _, record := range records {
		if server, ours := serverOf(record.Runtime.Name, r.opts.Shim); ours {
			out.put(record.ID, server)
		}
	}
	return out
}

// displaced forgets where a container was.
func (r *Runtime) displaced(id string) {
	r.placing.Lock()
	defer r.placing.Unlock()
	if r.places != nil {
		r.places.leave(id)
		serverCount.Set(float64(r.places.servers()))
	}
}

// unheard notes that the server of a container did not answer.
func (r *Runtime) unheard(id string) {
	r.placing.Lock()
	defer r.placing.Unlock()
	if r.places == nil {
		return
	}
	if at, known := r.places.groups[groupOf(id)]; known {
		r.avoid[at.server] = time.Now().Add(avoidFor)
	}
}

func (r *Runtime) avoided(server int) bool { return time.Now().Before(r.avoid[server]) }

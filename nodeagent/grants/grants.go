// Package grants reads the Secrets and ConfigMaps that the MiniPods of the node use, and gets the tokens of their ServiceAccounts, as an identity
// that may do nothing else.
//
// Idea. The agent's own credential reads no Secret. For the first one that a MiniPod needs, it asks the API server for a token of the
// node's ServiceAccount, which an admission policy gives to that node's agent alone, and keeps it until it is old. Rights come
// from the manager a moment after the binding, so that a refusal is waited out: quickly at first, because usually the write is
// under way, and then ever more slowly, because then something is wrong.
//
// What makes it hard: nothing tells when a right comes, so that it is asked for, and whoever asks must not become a burden when it does
// not come: what many MiniPods use is asked for once, and those of each namespace together are held to a rate. A right that is not there yet has to be
// told from everything else: only the API server's Forbidden, and an account that does not exist yet, are waited for. Where the
// rights are still those of an older version, the agent's own name may read, and is tried before the wait is given up.
package grants

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jitter"
)

const (
	// firstWait is the wait after the first refusal, because the write is usually under way; each next is twice as long.
	firstWait = 10 * time.Millisecond
	// slowWait is the wait from which on something is wrong, and is said.
	slowWait = time.Second
	// longestWait is the longest between two tries.
	longestWait = 4 * time.Second
	// patience is how long a start waits for its right before its failure is told and it is tried again later.
	patience = 20 * time.Second
)

var waits = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "miniplane_agent_grant_wait_duration_seconds",
	Help:    "How long reads of Secrets and ConfigMaps waited for the manager's grant; those that did not wait are not counted.",
	Buckets: prometheus.ExponentialBuckets(0.005, 2, 13),
})

func init() { metrics.Registry.MustRegister(waits) }

// Reader reads as the node's ServiceAccount.
type Reader struct {
	node    string
	log     logr.Logger
	agent   client.Client    // as the agent itself
	next    client.WithWatch // with the token
	tokens  *tokens
	reads   singleflight.Group
	turns   turns
	follows follows
}

// New makes a reader for a node. The configuration and the client are those of the agent.
func New(config *rest.Config, agent client.Client, node string, log logr.Logger) (*Reader, error) {
	r := &Reader{node: node, agent: agent, log: log, tokens: newTokens(agent, node)}
	config = rest.AnonymousClientConfig(config)
	config.QPS, config.Burst = -1, -1 // each namespace has its turns
	config.UserAgent = "miniplane-agent-grants"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bearer{next} })
	var err error
	r.next, err = client.NewWithWatch(config, client.Options{Scheme: agent.Scheme(), Mapper: agent.RESTMapper()})
	return r, err
}

// Get reads one object, and waits for the right to. Who asks for what is being read already gets that, and all have it in common, as it can be large: nobody changes what is
// in it.
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, object client.Object) error {
	name := fmt.Sprintf("%T %s", object, key)
	done := r.reads.DoChan(name, func() (any, error) {
		// Not the context of the first who asks: others may wait with it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience+longestWait)
		defer cancel()
		read := object.DeepCopyObject().(client.Object)
		return read, r.wait(ctx, key, reading{r, key, read})
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return result.Err
		}
		reflect.ValueOf(object).Elem().Set(reflect.ValueOf(result.Val).Elem())
		return nil
	}
}

// request is what is asked of the API server.
type request interface {
	// do asks in the name of the node, whose token is in the context.
	do(ctx context.Context) error
	// alone asks in the agent's own name, which rights of an older version allow; refused is what is told where they do not.
	alone(ctx context.Context, refused error) error
}

// reading is to read one object.
type reading struct {
	r      *Reader
	key    client.ObjectKey
	object client.Object
}

func (q reading) do(ctx context.Context) error { return q.r.next.Get(ctx, q.key, q.object) }

func (q reading) alone(ctx context.Context, refused error) error {
	if err := q.r.agent.Get(ctx, q.key, q.object); !apierrors.IsForbidden(err) {
		return err
	}
	return refused
}

// wait asks until there is an answer that is not a right which may still come.
func (r *Reader) wait(ctx context.Context, key client.ObjectKey, asked request) error {
	begin := time.Now()
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := r.try(ctx, key, asked)
		if pending(err) && wait >= slowWait {
			err = asked.alone(ctx, err)
		}
		if !pending(err) {
			if wait > firstWait {
				waits.Observe(time.Since(begin).Seconds())
			}
			return err
		}
		if wait >= slowWait && wait < 2*slowWait {
			r.log.Info("Waiting for the right to have what a MiniPod uses; the manager gives it", "object", key, "err", err.Error())
		}
		// The last try is at the end of the patience, however long the pause before it would have been.
		pause := min(jitter.Up(wait), patience-time.Since(begin))
		if pause <= 0 {
			return fmt.Errorf("node %s was not given the right to have it within %s: the manager gives it, see its log (kubectl -n %s logs deployment/miniplane-manager): %w",
				r.node, patience, miniv1.SystemNamespace, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func pending(err error) bool { return errors.Is(err, errNoAccount) || apierrors.IsForbidden(err) }

// try asks once; with a fresh token, if the one at hand is not taken any more.
func (r *Reader) try(ctx context.Context, key client.ObjectKey, asked request) error {
	if err := r.turns.wait(ctx, key.Namespace); err != nil {
		return fmt.Errorf("the MiniPods of namespace %s on this node use too much at once: %w", key.Namespace, err)
	}
	token, err := r.tokens.get(ctx)
	if err != nil {
		return err
	}
	if err := asked.do(withToken(ctx, token)); !apierrors.IsUnauthorized(err) {
		return err
	}
	r.tokens.forget(token)
	if token, err = r.tokens.get(ctx); err != nil {
		return err
	}
	return asked.do(withToken(ctx, token))
}

package grants

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// server gives tokens, and Secrets to whom it gives rights.
type server struct {
	accountAt, grantAt time.Time     // from when on there is an account, and a right
	ownRight           bool          // the agents' own name may read
	good               int           // the number of the token that is taken
	life               int64         // seconds that tokens are good for; what is asked for when 0
	away               error         // the answer to reads
	takes              time.Duration // how long a read takes

	mu                  sync.Mutex // for reads
	asked, reads, alone int
	watches             []*watch.FakeWatcher // nil for one that was refused
	log                 []string
}

func newReader(s *server) *Reader {
	log := funcr.New(func(_, args string) { s.log = append(s.log, args) }, funcr.Options{})
	agent := asAgent{s: s}
	return &Reader{node: "n", log: log, agent: agent, next: asNode{s: s}, tokens: newTokens(agent, "n")}
}

func (s *server) give(o client.Object) {
	o.(*corev1.Secret).Data = map[string][]byte{"key": []byte("v")}
}

func denied() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "s", nil)
}

// asAgent speaks to the server in the agent's own name.
type asAgent struct {
	client.Client
	s *server
}

func (c asAgent) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	c.s.alone++
	if !c.s.ownRight {
		return denied()
	}
	c.s.give(o)
	return nil
}

func (c asAgent) SubResource(string) client.SubResourceClient { return tokenRequests{s: c.s} }

type tokenRequests struct {
	client.SubResourceClient
	s *server
}

func (c tokenRequests) Create(_ context.Context, account, request client.Object, _ ...client.SubResourceCreateOption) error {
	c.s.asked++
	if time.Now().Before(c.s.accountAt) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, account.GetName())
	}
	r := request.(*authenticationv1.TokenRequest)
	if c.s.life > 0 {
		r.Spec.ExpirationSeconds = &c.s.life
	}
	r.Status.Token = fmt.Sprint(c.s.asked)
	return nil
}

// asNode speaks to the server with a token.
type asNode struct {
	client.WithWatch
	s *server
}

func (c asNode) Get(ctx context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	c.s.mu.Lock()
	c.s.reads++
	c.s.mu.Unlock()
	time.Sleep(c.s.takes) // in a synctest bubble
	switch {
	case c.s.away != nil:
		return c.s.away
	case c.s.good != 0 && ctx.Value(tokenKey{}) != fmt.Sprint(c.s.good):
		return apierrors.NewUnauthorized("no")
	case time.Now().Before(c.s.grantAt):
		return denied()
	}
	c.s.give(o)
	return nil
}

func read(r *Reader) error {
	var secret corev1.Secret
	err := r.Get(context.Background(), client.ObjectKey{Namespace: "ns", Name: "s"}, &secret)
	if err == nil && string(secret.Data["key"]) != "v" {
		return fmt.Errorf("it read %v", secret.Data)
	}
	return err
}

// What comes late is waited for, without many questions.
func TestWaitsForTheRight(t *testing.T) {
	for _, late := range []time.Duration{0, 30 * time.Millisecond, 3 * time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			s := &server{accountAt: begin.Add(late / 2), grantAt: begin.Add(late)}
			err, took := read(newReader(s)), time.Since(begin)
			if err != nil || took < late || took > 2*late+late/2 {
				t.Errorf("late by %s: %v after %s", late, err, took)
			}
			if questions := s.asked + s.reads; questions > 16 {
				t.Errorf("late by %s: %d questions", late, questions)
			}
			if told := len(s.log); told != min(1, int(late/(3*time.Second))) {
				t.Errorf("late by %s: the log has %q", late, s.log)
			}
		})
	}
}

// What does not come is given up, and whose fault that is is told.
func TestRightThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &server{grantAt: begin.Add(time.Hour)}
		err := read(newReader(s))
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "logs deployment/miniplane-manager") || time.Since(begin) > patience {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		if s.reads > 15 || s.alone > 7 {
			t.Errorf("%d questions, and %d in the agent's own name", s.reads, s.alone)
		}
	})
}

// Rights of an older version do not know nodes' accounts, and let agents read in their own name.
func TestRightsOfAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &server{accountAt: begin.Add(time.Hour), ownRight: true}
		if err := read(newReader(s)); err != nil || time.Since(begin) > 4*slowWait {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

// An answer that is no refusal is not waited out.
func TestOtherErrorsAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &server{away: errors.New("connection refused")}
		if err := read(newReader(s)); !errors.Is(err, s.away) || time.Since(begin) > 0 || s.reads != 1 {
			t.Errorf("after %s and %d reads: %v", time.Since(begin), s.reads, err)
		}
	})
}

// A hundred MiniPods that start with one Secret are one reader; one of them that goes does not take the others along.
func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{grantAt: time.Now().Add(time.Second), takes: time.Millisecond}
		r := newReader(s)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() { first <- r.Get(ctx, client.ObjectKey{Namespace: "ns", Name: "s"}, &corev1.Secret{}) }()
		synctest.Wait()
		results := make(chan error)
		for range 100 {
			go func() { results <- read(r) }()
		}
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: %v", err)
		}
		for range 100 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if s.reads > 10 || s.asked != 1 {
			t.Errorf("%d reads, %d tokens", s.reads, s.asked)
		}
	})
}

// A token is used as long as it is good: until it is old, by this machine's clock alone, or until the API server takes it no more.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		r := newReader(s)
		for _, step := range []struct {
			after time.Duration
			life  int64
			good  int
			want  int // tokens that were asked for until then
		}{
			{0, 0, 0, 1},
			{47 * time.Minute, 0, 0, 1},
			{2 * time.Minute, 600, 0, 2},
			{7 * time.Minute, 600, 0, 2},
			{2 * time.Minute, 600, 0, 3},
			{time.Minute, 0, 4, 4}, // the account was made anew
			{time.Minute, 0, 4, 4},
		} {
			time.Sleep(step.after) // in a synctest bubble
			s.life, s.good = step.life, step.good
			if err := read(r); err != nil || s.asked != step.want {
				t.Errorf("%+v: %v, %d tokens", step, err, s.asked)
			}
		}
		s.good = 100
		if err := read(r); !apierrors.IsUnauthorized(err) || s.asked != 5 {
			t.Errorf("an API server that takes no token: %v, %d tokens", err, s.asked)
		}
	})
}

// A namespace that asks for much, again and again, keeps no other from reading, and gets no more than its rate.
func TestNobodyWaitsForAnotherNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		r := newReader(s)
		get := func(namespace, name string) error {
			return r.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, &corev1.Secret{})
		}
		var group sync.WaitGroup
		var refused atomic.Int32
		for i := range 2000 {
			group.Go(func() {
				if get("greedy", fmt.Sprint(i)) != nil {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		if err := get("modest", "s"); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		group.Wait()
		if most := int32(2000 - burst - rate*int((patience+longestWait)/time.Second)); refused.Load() < most-rate {
			t.Errorf("%d were refused, of which at least %d are too many", refused.Load(), most)
		}
	})
}

// Namespaces that read nothing any more are forgotten, and others not.
func TestTurnsAreForgotten(t *testing.T) {
	var all turns
	now := time.Now()
	kept := all.get("kept", now)
	for i := range 10 * manyTurns {
		now = now.Add(time.Second)
		all.get(fmt.Sprint(i), now)
		if all.get("kept", now) != kept {
			t.Fatal("one that reads all the time was forgotten")
		}
	}
	if n := len(all.of); n > manyTurns {
		t.Errorf("%d namespaces are remembered", n)
	}
}

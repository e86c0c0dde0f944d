package twin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// quiet is for how long nothing may change for a moment to be one: the two do not write everything at once.
const quiet = 2 * time.Second

// gone is the moment after which there is nothing any more.
const gone = "gone"

// kind is one of the two.
type kind struct {
	schema.GroupVersionResource
	kind string
	// hostPort is the one that each can have: the two are on one node.
	hostPort string
}

// own puts into a manifest what each of the twins has for itself.
func (k kind) own(manifest string) string {
	return strings.NewReplacer(hostPort, k.hostPort, "KIND", k.Resource).Replace(manifest)
}

var (
	pods     = kind{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod", "18071"}
	minipods = kind{schema.GroupVersionResource{Group: "miniplane.dev", Version: "v1alpha1", Resource: "minipods"}, "MiniPod", "18072"}
)

// side is one of the twins.
type side struct {
	kind
	client dynamic.ResourceInterface
	name   string
	events <-chan watch.Event
	stop   func()
	// now is how it stands, seen all that was seen of it, in order; gone is when it is not there any more.
	now  *unstructured.Unstructured
	seen []view
	gone bool
}

// start makes one of a kind from a spec.
func start(ctx context.Context, k kind, namespace, name string, h *history) (*side, error) {
	s := &side{kind: k, client: cluster.Resource(k.GroupVersionResource).Namespace(namespace), name: name}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("spec: "+k.own(h.spec.yaml())), &object.Object); err != nil {
		return nil, fmt.Errorf("%s: %w", h.spec.yaml(), err)
	}
	object.SetAPIVersion(k.GroupVersion().String())
	object.SetKind(k.kind)
	object.SetName(name)
	object.SetLabels(map[string]string{"twin": "yes"})
	object.SetAnnotations(map[string]string{"twin": "of another"})
	watcher, err := s.client.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return nil, err
	}
	s.events, s.stop = watcher.ResultChan(), watcher.Stop
	_, err = s.client.Create(ctx, object, metav1.CreateOptions{FieldValidation: "Strict"})
	return s, err
}

// await waits until a moment has come and lasts, and returns what is said then; of one that is gone, what was said last.
func (s *side) await(ctx context.Context, moment string) (view, error) {
	lasts := time.NewTimer(quiet)
	defer lasts.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.last(), fmt.Errorf("it never came to %q", moment)
		case event, open := <-s.events:
			if !open {
				return s.last(), errors.New("the watch ended")
			}
			if err := s.note(event); err != nil {
				return s.last(), err
			}
			lasts.Reset(quiet)
		case <-lasts.C:
			if s.gone || moment != gone && s.last().has(moment) {
				return s.column(ctx, moment)
			}
		}
		if s.gone && moment == gone {
			return s.last(), nil
		}
	}
}

func (s *side) last() view {
	if len(s.seen) == 0 {
		return view{}
	}
	return s.seen[len(s.seen)-1]
}

func (s *side) note(event watch.Event) error {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%s: %v", event.Type, event.Object)
	}
	s.now = object
	v, err := viewOf(object)
	if err != nil {
		return err
	}
	s.gone = event.Type == watch.Deleted
	if !maps.Equal(v, s.last()) {
		s.seen = append(s.seen, v)
	}
	return nil
}

// column adds what `kubectl get` shows.
func (s *side) column(ctx context.Context, moment string) (view, error) {
	v := maps.Clone(s.last())
	if s.gone {
		if moment != gone {
			return v, fmt.Errorf("it is gone, and never came to %q", moment)
		}
		return v, nil
	}
	table := &metav1.Table{}
	err := tables.Get().AbsPath("/"+strings.TrimPrefix(s.path(), "/")).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Into(table)
	if err != nil || len(table.Rows) != 1 {
		return v, fmt.Errorf("its table: %w", err)
	}
	for i, column := range table.ColumnDefinitions {
		switch column.Name {
		case "Ready", "Status", "Restarts":
			cell, _, _ := strings.Cut(fmt.Sprint(table.Rows[0].Cells[i]), " (")
			v["kubectl "+strings.ToUpper(column.Name)] = cell
		}
	}
	return v, nil
}

func (s *side) path() string {
	base := "apis/" + s.Group + "/" + s.Version
	if s.Group == "" {
		base = "api/" + s.Version
	}
	return fmt.Sprintf("%s/namespaces/%s/%s/%s", base, s.now.GetNamespace(), s.Resource, s.name)
}

// follow is the row of what was said of a key, without what it was while it was being made.
func (s *side) follow(key string) (row []string) {
	for _, v := range s.seen {
		said := v[key]
		if made := len(row) > 0; made && row[len(row)-1] == said || !made && (said == "" || strings.HasPrefix(said, "waiting ContainerCreating") || strings.HasPrefix(said, "waiting PodInitializing")) {
			continue
		}
		row = append(row, said)
	}
	return row
}

// end deletes it without grace.
func (s *side) end(ctx context.Context) error {
	s.stop()
	var options metav1.DeleteOptions
	if s.kind == pods {
		options.GracePeriodSeconds = new(int64)
	} else if _, err := s.client.Patch(ctx, s.name, types.MergePatchType, []byte(`{"spec": {"terminationGracePeriodSeconds": 0}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := s.client.Delete(ctx, s.name, options); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// Package requests counts what an API server was asked to do, by its own metrics.
package requests

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var (
	counter   = regexp.MustCompile(`^apiserver_request_total\{(.*)\} ([0-9.e+]+)$`)
	writeVerb = regexp.MustCompile(`verb="(POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION)"`)
	resources = regexp.MustCompile(`[{,]resource="([^"]*)"`)
)

// Writes counts the requests since the API server's start that create, change or delete objects of a resource, such as
// "minipods", its subresources included, whether they succeeded or not.
func Writes(ctx context.Context, config *rest.Config, resource string) (float64, error) {
	all, err := AllWrites(ctx, config)
	return all[resource], err
}

// AllWrites counts the same for every resource.
func AllWrites(ctx context.Context, config *rest.Config) (map[string]float64, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	body, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	return parse(string(body))
}

func parse(metrics string) (map[string]float64, error) {
	out := map[string]float64{}
	scanner := bufio.NewScanner(strings.NewReader(metrics))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		match := counter.FindStringSubmatch(scanner.Text())
		if match == nil || !writeVerb.MatchString(match[1]) {
			continue
		}
		resource := resources.FindStringSubmatch("{" + match[1])
		if resource == nil {
			continue
		}
		n, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", scanner.Text(), err)
		}
		out[resource[1]] += n
	}
	return out, scanner.Err()
}

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
)

// Writes counts the requests since the API server's start that create, change or delete objects of a resource, such as
// "minipods", its subresources included, whether they succeeded or not.
func Writes(ctx context.Context, config *rest.Config, resource string) (float64, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	body, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	total := 0.0
	scanner := bufio.NewScanner(strings.NewReader(string(body)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		match := counter.FindStringSubmatch(scanner.Text())
		if match == nil || !writeVerb.MatchString(match[1]) || !strings.Contains(match[1], `resource="`+resource+`"`) {
			continue
		}
		n, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return 0, fmt.Errorf("reading %q: %w", scanner.Text(), err)
		}
		total += n
	}
	return total, scanner.Err()
}

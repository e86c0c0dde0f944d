package procs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is the proportional set size of the processes of these programs together, by program, in bytes.
func (r Reader) Memory(t Table, programs ...string) (map[string]float64, error) {
	wanted, out := map[string]bool{}, map[string]float64{}
	for _, name := range programs {
		wanted[name] = true
	}
	for _, p := range t {
		if !wanted[p.Program] {
			continue
		}
		bytes, err := r.PSS(p.PID)
		if err != nil {
			return nil, err
		}
		out[p.Program] += bytes
	}
	return out, nil
}

// PSS is the proportional set size of a process in bytes; zero if it has ended. It needs the rights of a debugger.
func (r Reader) PSS(pid int) (float64, error) {
	data, err := os.ReadFile(filepath.Join(r.Root, strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, gone(err)
	}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		if value, ok := strings.CutPrefix(scanner.Text(), "Pss:"); ok {
			kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 64)
			return kilobytes * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d: no Pss in smaps_rollup", pid)
}

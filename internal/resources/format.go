package resources

import (
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// FormatCPU writes thousandths of a core as in a manifest: 800 is "800m", 2000 is "2".
func FormatCPU(milli int64) string {
	if milli%1000 == 0 {
		return strconv.FormatInt(milli/1000, 10)
	}
	return strconv.FormatInt(milli, 10) + "m"
}

// FormatMemory writes bytes for people: "64Mi" or "100M" where that is exact, else rounded down to a tenth, "95.3Mi".
func FormatMemory(bytes int64) string {
	for _, units := range [][]unit{binaryUnits, decimalUnits} {
		for _, u := range units {
			if bytes >= u.size && bytes%u.size == 0 {
				return strconv.FormatInt(bytes/u.size, 10) + u.name
			}
		}
	}
	for _, u := range binaryUnits {
		if bytes >= u.size {
			tenths := bytes / (u.size / 16) * 10 / 16
			return strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// CPUQuantity is thousandths of a core as a quantity, exact.
func CPUQuantity(milli int64) resource.Quantity {
	return *resource.NewMilliQuantity(milli, resource.DecimalSI)
}

// MemoryQuantity is bytes as a quantity, exact.
func MemoryQuantity(bytes int64) resource.Quantity {
	return *resource.NewQuantity(bytes, resource.BinarySI)
}

type unit struct {
	name string
	size int64
}

var (
	binaryUnits  = []unit{{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}}
	decimalUnits = []unit{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}}
)

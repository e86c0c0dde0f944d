// Package chart tests the helm chart with helm itself: that it is what config/ is, that each value changes what it says and
// nothing else, that mistakes are refused in words, and that a real API server takes it, upgraded and uninstalled too.
package chart

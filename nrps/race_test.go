//go:build race

package nrps

// The race detector makes everything several times slower.
const raced = true

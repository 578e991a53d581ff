//go:build !race

package nrps

const raced = false

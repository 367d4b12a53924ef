// Package structure holds the test that keeps the package map of docs/ARCHITECTURE.md true:
// who may import whom, and that every package says what it is for.
package structure

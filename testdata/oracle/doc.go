// Package oracle compares jubako with uv: the selection from real locks, and installed environments path by path. Its tests
// need the build tag oracle and what run.sh sets; README.md says how to add a case.
package oracle

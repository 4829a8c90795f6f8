// Package check tests the files of an installation with the libraries of the programs that read them: Kubernetes' API types and
// kustomize, Compose's loader, BuildKit's Dockerfile frontend, and readers of deb and rpm. It is a module of its own, so that none of
// them is a dependency of iuworker.
//
// What these files say to iuworker (commands, flags, variables, paths and ports) is checked against the program by the tests of
// cmd/iuworker: deploy_test.go there.
package check

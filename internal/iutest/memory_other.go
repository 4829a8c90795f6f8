//go:build !linux

package iutest

func useMemory() {}

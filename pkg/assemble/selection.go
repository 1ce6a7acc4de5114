package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"

	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/uvlock"
	"github.com/jubako/jubako/pkg/wheel"
)

// selections is the namespace in the cache of what is known of locks that have been parsed.
const selections = "selection"

// uvLock is a uv.lock. It is parsed where it was not before by this very program, or is asked what that did not ask: it is the
// largest file that a build reads, and seldom another than in the build before.
type uvLock struct {
	file   string
	digest string                       // SHA-256, in hex
	parse  func() (*uvlock.Lock, error) // once
}

func newUVLock(data []byte, file string) *uvLock {
	sum := sha256.Sum256(data)
	return &uvLock{file: file, digest: hex.EncodeToString(sum[:]), parse: sync.OnceValues(func() (*uvlock.Lock, error) { return uvlock.Parse(data, file) })}
}

// File implements locked.Lock.
func (u *uvLock) File() string { return u.file }

// RequiresPython implements locked.Lock.
func (u *uvLock) RequiresPython() pep508.Specifiers {
	l, err := u.parse()
	if err != nil {
		return nil // readLock and inStep have said so before anybody asks
	}
	return l.RequiresPython()
}

// Select implements locked.Lock.
func (u *uvLock) Select(r locked.Request, env pep508.Env) ([]locked.Selected, error) {
	l, err := u.parse()
	if err != nil {
		return nil, err
	}
	return l.Select(r, env)
}

// answered gives what is known of a lock, and remember keeps it. kind says what it is an answer to, and question holds all of it that
// the answer depends on beside the lock and the program.
func (b *builder) answered(u *uvLock, kind string, question any) ([]byte, bool) {
	if b.Program == "" || b.spec.NoCache {
		return nil, false
	}
	record, err := b.Store.Record(selections, b.answerKey(u, kind, question))
	return record, err == nil
}

func (b *builder) remember(u *uvLock, kind string, question any, answer []byte) {
	if b.Program != "" {
		_ = b.Store.PutRecord(selections, b.answerKey(u, kind, question), answer) // where it cannot be kept, it is found out again
	}
}

func (b *builder) answerKey(u *uvLock, kind string, question any) string {
	text, err := json.Marshal(question)
	if err != nil {
		panic(err) // of plain values
	}
	return strings.Join([]string{kind, b.Program, u.digest, string(text)}, "\x00")
}

// selected gives what to install on a target, from the lock or from what is known of it: then each package has the one wheel
// that was chosen.
func (b *builder) selected(py string, target wheel.Target, tags wheel.Tags, build locked.BuildOptions) ([]locked.Selected, error) {
	env, err := pep508.LinuxEnv(py, target.Arch)
	if err != nil {
		return nil, err
	}
	request := b.request()
	u, ok := b.in.lock.(*uvLock)
	if !ok {
		return b.in.lock.Select(request, env)
	}
	// Specifiers are no plain values: the texts that they were read from stand for them.
	question := struct {
		Python         string
		Target         wheel.Target
		Build          locked.BuildOptions
		Request        locked.Request
		RequiresPython string
		GroupPython    map[string]string
	}{py, target, build, request, b.spec.Project.RequiresPython, b.spec.Project.GroupPython}
	question.Request.RequiresPython, question.Request.GroupPython = nil, nil
	if record, ok := b.answered(u, "selected", question); ok {
		if all, err := locked.Unmarshal(record); err == nil {
			return all, nil
		}
	}
	all, err := u.Select(request, env)
	if err != nil {
		return nil, err
	}
	if fitted, ok := locked.Fit(all, tags, build); ok {
		b.remember(u, "selected", question, locked.Marshal(fitted))
	}
	return all, nil
}

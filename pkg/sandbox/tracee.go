package sandbox

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ptrace(request, pid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// ntPrstatus is the register set of the general registers (NT_PRSTATUS).
const ntPrstatus = 1

func (g *regs) get(tid int) error {
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&g.r)), Len: uint64(unsafe.Sizeof(g.r))}
	return ptrace(unix.PTRACE_GETREGSET, tid, ntPrstatus, uintptr(unsafe.Pointer(&iov)))
}

func (g *regs) put(tid int) error {
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&g.r)), Len: uint64(unsafe.Sizeof(g.r))}
	return ptrace(unix.PTRACE_SETREGSET, tid, ntPrstatus, uintptr(unsafe.Pointer(&iov)))
}

// pageSize is the least that any kernel uses; no read of a string crosses a multiple of it needlessly.
const pageSize = 4096

// readMem fills b from a process's memory.
func readMem(tid int, addr uint64, b []byte) error {
	n, err := vmCopy(unix.SYS_PROCESS_VM_READV, tid, addr, b)
	if err != nil || n < len(b) {
		return unix.EFAULT
	}
	return nil
}

// writeMem writes b into a process's memory.
func writeMem(tid int, addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := vmCopy(unix.SYS_PROCESS_VM_WRITEV, tid, addr, b)
	if err != nil || n < len(b) {
		return unix.EFAULT
	}
	return nil
}

func vmCopy(call uintptr, tid int, addr uint64, b []byte) (int, error) {
	local := unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(b)}
	n, _, e := unix.RawSyscall6(call, uintptr(tid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// readString reads a string that ends with a zero byte, of less than limit bytes.
func (t *tracer) readString(tid int, addr uint64, limit int) (string, error) {
	return readString(tid, addr, limit, t.buf[:])
}

// readString reads by way of buf, which has pageSize bytes.
func readString(tid int, addr uint64, limit int, buf []byte) (string, error) {
	var out []byte
	for len(out) < limit {
		b := buf[:pageSize-addr%pageSize]
		if len(out) == 0 && len(b) > 256 {
			b = b[:256] // most are short
		}
		if err := readMem(tid, addr, b); err != nil {
			return "", err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			if len(out) == 0 {
				return string(b[:i]), nil
			}
			out = append(out, b[:i]...)
			break
		}
		out = append(out, b...)
		addr += uint64(len(b))
	}
	if len(out) >= limit {
		return "", unix.ENAMETOOLONG
	}
	return string(out), nil
}

// maxPointers bounds the vectors of execve: the kernel's own bound is in bytes (MAX_ARG_STRINGS is beyond any memory).
const maxPointers = 1 << 20

// readVector reads an array of pointers that ends with a zero.
func readVector(tid int, addr uint64) ([]uint64, error) {
	if addr == 0 {
		return nil, nil
	}
	var out []uint64
	var b [pageSize]byte
	for len(out) < maxPointers {
		chunk := b[:pageSize-addr%pageSize]
		if len(chunk)%8 != 0 {
			chunk = b[:8]
		}
		if err := readMem(tid, addr, chunk); err != nil {
			return nil, err
		}
		for i := 0; i < len(chunk); i += 8 {
			p := binary.NativeEndian.Uint64(chunk[i:])
			if p == 0 {
				return out, nil
			}
			out = append(out, p)
		}
		addr += uint64(len(chunk))
	}
	return nil, unix.E2BIG
}

// bytesOf is the memory of a value.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

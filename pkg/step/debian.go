package step

// DebianPackage names the package of a shared library ("libpq.so.5") that Python packages often want of the system.
func DebianPackage(library string) (string, bool) { return debianPackage(library) }

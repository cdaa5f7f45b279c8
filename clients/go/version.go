package alknet

import (
	"fmt"
	"strings"
	"sync"
)

// Version is that of this package, and of the C library that it is made for.
const Version = "0.1.0"

// checkVersion says whether the C library that this process has loaded is one that the package can
// use: one of the same minor version while that is 0.x, else of the same major version.
var checkVersion = sync.OnceValue(func() error { return fits(Version, libraryVersion()) })

func fits(ours, loaded string) error {
	if series(ours) != series(loaded) {
		return fmt.Errorf("alknet: the package is of version %s, the library that was loaded of version %s", ours, loaded)
	}
	return nil
}

// series: 0.MINOR, or MAJOR from 1 on.
func series(version string) string {
	major, rest, _ := strings.Cut(version, ".")
	if major != "0" {
		return major
	}
	minor, _, _ := strings.Cut(rest, ".")
	return major + "." + minor
}

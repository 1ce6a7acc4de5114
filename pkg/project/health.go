package project

import (
	"strconv"
	"time"
)

// healthTimeout is how long Python waits for an answer where the configuration names no timeout: Docker's own.
const healthTimeout = 30 * time.Second

// askHealth is the program that asks a URL, as `curl -f` does: it ends with 0 for a status below 400, and else with 1 and
// one line of reason. Redirects are not followed, since settings that force TLS send everyone to a port that only the
// proxy before the service has; nor is a proxy of the environment asked, since the service is on this side of it.
const askHealth = `import sys
from urllib import error, request
class Stay(request.HTTPRedirectHandler):
    def redirect_request(self, *args): return None
try: request.build_opener(request.ProxyHandler({}), Stay).open(sys.argv[1], timeout=float(sys.argv[2]))
except error.HTTPError as e: sys.exit(e.code >= 400 and str(e))
except Exception as e: sys.exit(str(e) or 1)`

// Test gives the health check as the image's config holds it (Docker's Healthcheck.Test). -I keeps Python from importing
// a module of the service in place of the standard library's.
func (h *Healthcheck) Test() []string {
	switch {
	case h.URL != "":
		timeout := h.Timeout
		if timeout == 0 {
			timeout = healthTimeout
		}
		return []string{"CMD", "python", "-I", "-c", askHealth, h.URL, strconv.FormatFloat(timeout.Seconds(), 'f', -1, 64)}
	case h.Shell != "":
		return []string{"CMD-SHELL", h.Shell}
	default:
		return append([]string{"CMD"}, h.Cmd...)
	}
}

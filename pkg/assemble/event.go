package assemble

import "time"

// Event is one thing that a build has to say. What is printed of it, and how, is the terminal's to decide.
type Event struct {
	Kind  EventKind     `json:"event"`
	Name  string        `json:"name,omitempty"`  // of a layer: "venv"; of a base, its name with digest
	State LayerState    `json:"state,omitempty"` // of a layer
	Text  string        `json:"text,omitempty"`  // for a person
	Done  int64         `json:"done,omitempty"`  // bytes so far, of Progress
	Total int64         `json:"total,omitempty"` // bytes expected, 0 where not known
	Size  int64         `json:"size,omitempty"`  // bytes of the finished blob
	Took  time.Duration `json:"took,omitempty"`  // nanoseconds
}

// EventKind says what an event is about.
type EventKind string

// The kinds of event.
const (
	Note     EventKind = "note"     // an inference or a choice that a person may want to know of
	Warning  EventKind = "warning"  // something that is probably not as it was meant
	Debug    EventKind = "debug"    // why something was done: for -v
	BaseIs   EventKind = "base"     // which base, and what it holds
	LayerIs  EventKind = "layer"    // a layer's state has changed
	Progress EventKind = "progress" // bytes of a layer, a download or an upload
	Ended    EventKind = "ended"    // the work on a layer is over; its LayerIs comes in the order of the image's layers
	Built    EventKind = "built"    // a wheel was built from source
	Pushed   EventKind = "pushed"   // a push is complete
	Written  EventKind = "written"  // a file or folder is complete
)

// LayerState is where a layer stands.
type LayerState string

// The states of a layer.
const (
	Making LayerState = "making"
	Made   LayerState = "made"
	Reused LayerState = "reused"
	ToMake LayerState = "to make" // in a plan
)

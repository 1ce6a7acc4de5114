package main

import (
	"os"
	"path/filepath"
	"strings"
)

// pipIndexes are the indexes that pip would ask. index is "" where only its built-in default is left: jubako knows no
// index of its own.
func pipIndexes(env func(string) string) (index string, extra []string) {
	index, extra = env("PIP_INDEX_URL"), strings.Fields(env("PIP_EXTRA_INDEX_URL"))
	for _, file := range pipConfigs(env) {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // pip passes over what is not there, too
		}
		of := parsePipConfig(string(b))
		if index == "" {
			index = of["index-url"]
		}
		if len(extra) == 0 {
			extra = strings.Fields(of["extra-index-url"])
		}
	}
	return index, extra
}

// pipConfigs are pip's configuration files, the one that counts most first.
func pipConfigs(env func(string) string) []string {
	var files []string
	if f := env("PIP_CONFIG_FILE"); f != "" {
		files = append(files, f)
	}
	config := env("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(env("HOME"), ".config")
	}
	return append(files, filepath.Join(config, "pip", "pip.conf"), filepath.Join(env("HOME"), ".pip", "pip.conf"), "/etc/pip.conf")
}

// parsePipConfig reads the keys of [global] and [install] of a pip.conf; a value may go on in indented lines.
func parsePipConfig(text string) map[string]string {
	values := make(map[string]string)
	section, key := "", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";"):
		case strings.HasPrefix(trimmed, "["):
			section, key = strings.Trim(trimmed, "[]"), ""
		case section != "global" && section != "install":
		case (line[0] == ' ' || line[0] == '\t') && key != "":
			values[key] += " " + trimmed
		default:
			name, value, _ := strings.Cut(trimmed, "=")
			key = strings.ReplaceAll(strings.TrimSpace(name), "_", "-")
			values[key] = strings.TrimSpace(value)
		}
	}
	return values
}

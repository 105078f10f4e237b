"""kivitendo.conf: grammar (text -> sections), settings (typed, validated), watcher (inotify)."""

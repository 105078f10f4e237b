"""kivitendo.conf: grammar (text -> sections), settings (typed, validated), watcher (inotify),
current (the configuration in force), location (where kivitendo is)."""

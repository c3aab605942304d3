complete --keep-order --exclusive --command netcord --arguments "(COMPLETE=fish netcord -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"

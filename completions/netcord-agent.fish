complete -c netcord-agent -l foreground -d 'Stay in the foreground, and print what happens on stderr; for systemd'
complete -c netcord-agent -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netcord-agent -s V -l version -d 'Print version'

# All of it away, and nothing else.
netcord reset --yes
netcord graph

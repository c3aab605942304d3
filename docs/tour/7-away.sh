# All of it away, and nothing else.
netcord reset
netcord graph

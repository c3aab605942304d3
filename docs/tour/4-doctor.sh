# Something breaks.
ip -n web link set eth0 mtu 1400
netcord doctor
ip -n web link set eth0 mtu 1500
netcord doctor && echo healthy

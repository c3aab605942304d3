# Where a packet dies.
iptables -P FORWARD DROP
netcord trace 192.168.1.77 host:8080
netcord doctor
netcord bridge lab0
netcord container outside -- curl 192.168.1.10:8080

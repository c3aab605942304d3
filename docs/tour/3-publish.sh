# A port of the host, from outside; and a picture of the whole.
netcord publish web 8080:80
netcord container outside -- curl 192.168.1.10:8080
netcord graph
netcord graph --format svg >host.svg

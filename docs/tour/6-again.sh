# Doing it again, and what cannot be.
netcord attach lab0 web
netcord attach lab0 web --ip 10.7.0.99
netcord none third
netcord attach lab0 third --ip 10.7.0.3
netcord attach lab third

# The steps, as they are done, and why.
netcord none db
netcord --explain attach lab0 db

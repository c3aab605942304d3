# A server in a namespace that has no network gets one.
netcord bridge lab0 --subnet 10.7.0.0/24
mkdir site && echo '<h1>It works</h1>' >site/index.html
netcord none web -- busybox httpd -p 80 -h site
netcord attach lab0 web
curl 10.7.0.2
netcord ps

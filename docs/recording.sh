# The recording in the README. `tests/engines/recording.rs` plays it on a host with docker.
docker run -d --network=none --name web -v $PWD/site:/www busybox httpd -f -h /www >id
docker network connect bridge web
netcord attach docker0 web
curl 172.17.0.2
netcord publish web 8080:80
curl 192.0.2.1:8080
netcord detach docker0 web
netcord ps

# Completion of ringrelay's options for fish. A test compares them with `ringrelay -h`.
for name in ringrelay influxdb-relay
    complete -c $name -f
    complete -c $name -n __fish_is_first_token -a top -d 'Watch a running relay'
    complete -c $name -o config -r -F -d 'The configuration to run'
    complete -c $name -o check -d 'Check the configuration and print what it would run'
    complete -c $name -o v -d 'Log requests'
    complete -c $name -o log-format -x -a 'text json' -d 'How the log is written'
    complete -c $name -o version -d 'Print the version'
    complete -c $name -o h -d 'Print a summary of the options'
    complete -c $name -o help -d 'Print a summary of the options'
end

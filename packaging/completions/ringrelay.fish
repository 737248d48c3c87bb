# Completion of ringrelay's options for fish. A test compares them with `ringrelay -h`.
for name in ringrelay influxdb-relay
    complete -c $name -f
    complete -c $name -n __fish_is_first_token -a top -d 'Watch a running relay'
    complete -c $name -o config -r -F -d 'The configuration of the relay'
    complete -c $name -o h -d 'Print a summary of the options'
    complete -c $name -o help -d 'Print a summary of the options'

    set -l run 'not __fish_seen_subcommand_from top'
    complete -c $name -n $run -o check -d 'Check the configuration and print what it would run'
    complete -c $name -n $run -o v -d 'Log requests'
    complete -c $name -n $run -o log-format -x -a 'text json' -d 'How the log is written'
    complete -c $name -n $run -o version -d 'Print the version'

    set -l top '__fish_seen_subcommand_from top'
    complete -c $name -n $top -o interval -x -a 1s -d 'Between two looks'
    complete -c $name -n $top -o once -d 'Print one frame as text and exit'
    complete -c $name -n $top -o ascii -d 'Use ASCII alone'
    complete -c $name -n $top -o ca-file -r -F -d 'Trust these authorities'
    complete -c $name -n $top -o client-pem -r -F -d 'The certificate and key to show to the relay'
    complete -c $name -n $top -o skip-tls-verification -d 'Trust any certificate'
end

# Made by lq-bench --generate fish; do not edit.
complete -c lq-bench -s t -l threads -x -d 'threads to work with (default: the cores this process may use)'
complete -c lq-bench -l force -d 'replace output files that exist'
complete -c lq-bench -l json -d 'print results, and errors, as JSON'
complete -c lq-bench -l color -x -a 'auto always never' -d 'when to use colour; auto: on a terminal'
complete -c lq-bench -s q -l quiet -d 'no progress and no notes; warnings and errors stay'
complete -c lq-bench -s h -l help -d 'print this help'
complete -c lq-bench -l version -d 'print the version, how it was built and its kernels'

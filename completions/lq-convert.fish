# Made by lq-convert --generate fish; do not edit.
complete -c lq-convert -s o -l output -r -F -d 'file to write'
complete -c lq-convert -s t -l threads -x -d 'threads to work with (default: the cores this process may use)'
complete -c lq-convert -l force -d 'replace output files that exist'
complete -c lq-convert -l json -d 'print results, and errors, as JSON'
complete -c lq-convert -l color -x -a 'auto always never' -d 'when to use colour; auto: on a terminal'
complete -c lq-convert -s q -l quiet -d 'no progress and no notes; warnings and errors stay'
complete -c lq-convert -s h -l help -d 'print this help'
complete -c lq-convert -l version -d 'print the version, how it was built and its kernels'

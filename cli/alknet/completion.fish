# Fish completion for alknet. The program itself says what may follow, asking the remote of the line (complete.c).

function __alknet_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for candidate in ($words[1] complete $words[2..-1] "$current" 2>/dev/null </dev/null)
        if string match -q ':files*' -- $candidate
            set -l prefix (string replace ':files ' '' -- $candidate)
            set -l path (string sub -s (math (string length -- "$prefix") + 1) -- "$current")
            for file in $path*
                test -d $file; and set file $file/
                echo $prefix$file
            end
        else
            echo $candidate
        end
    end
end

complete -c alknet -f -a '(__alknet_complete)'

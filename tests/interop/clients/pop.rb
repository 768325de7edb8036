# net-pop of Ruby: host port tls user password keep|delete folder
require 'net/pop'

host, port, _, user, password, act, folder = ARGV
pop = Net::POP3.new(host, port.to_i)
pop.enable_ssl(OpenSSL::SSL::VERIFY_NONE)
pop.start(user, password) do |session|
  session.each_mail do |mail|
    octets = mail.pop
    raise "#{octets.bytesize} octets, #{mail.length} announced" if octets.bytesize != mail.length
    File.binwrite("#{folder}/#{mail.unique_id}", octets)
    mail.delete if act == 'delete'
  end
end
